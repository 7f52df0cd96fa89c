"""Binary trees over sentences, by scores of spans."""
