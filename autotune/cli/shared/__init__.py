"""What several commands share: options, help texts, errors, interrupts."""
