revoke update (expires) on api_key from tonewatch_app;
