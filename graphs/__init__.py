"""Any network -> `ComputationGraph`: vocabulary, capture, text, statistics, hashing, drawing."""
