"""Floor 7: provers that users run too: `gossamer verify isa|float|cuts|hops`, and the schemas."""
