"""Update rules, each written once: directions, applications, and the arithmetic they share."""
