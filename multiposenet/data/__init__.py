"""What each head trains on: readers, augmentation and batches."""
