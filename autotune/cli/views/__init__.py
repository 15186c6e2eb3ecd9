"""What commands print: values as text, tables and progress."""
