"""What is trained: model, data, loss and schedule length."""
