grant select on incident_story to tonewatch_app;
