"""Follow what is declared: plan, apply, look, verify."""
