"""Services of others that jobs call: AI models, plugins, accounts, webhooks."""
