"""How each head is trained: one `train(config, workdir, resume)` per head, callable from scripts, tests and notebooks."""
