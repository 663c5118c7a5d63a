"""The search service: plans, stores, GraphQL, HTTP and the command line around the query language."""
