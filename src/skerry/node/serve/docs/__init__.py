"""What the node says of its own protocols: OpenAPI documents, and pages for people with lines that can be copied."""
