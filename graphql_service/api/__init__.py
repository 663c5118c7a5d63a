"""The GraphQL schema over the search service: types, inputs, resolvers, and errors with codes."""
