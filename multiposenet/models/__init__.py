"""The networks and the one graph they make, in `keras.layers` and `keras.ops` alone: any Keras backend runs them."""
