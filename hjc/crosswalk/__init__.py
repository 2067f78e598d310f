"""From one classification to another: correspondences, probabilities carried over, revisions."""
