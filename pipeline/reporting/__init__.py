"""What the report stage is made of: inputs, tables, figures, departures, provenance and the document itself."""
