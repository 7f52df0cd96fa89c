"""The API reference as pages of HTML."""
