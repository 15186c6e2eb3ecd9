"""One job of one trial: build the model and optimizer, train, measure, save."""
