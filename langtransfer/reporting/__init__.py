"""Tables, figures, verdicts and the report."""
