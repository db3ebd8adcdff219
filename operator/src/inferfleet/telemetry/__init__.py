"""What the workers say, and what the operator says about itself."""
