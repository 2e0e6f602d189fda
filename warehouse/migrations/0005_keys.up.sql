-- A key can be given an end after it was made: it is rotated without a moment in which none holds.
grant update (expires) on api_key to tonewatch_app;
