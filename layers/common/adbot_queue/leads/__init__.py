"""Leads: an outreach queue over WhatsApp."""
