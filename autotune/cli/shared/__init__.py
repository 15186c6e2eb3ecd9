"""Options, help texts, errors and interrupts, which several commands share."""
