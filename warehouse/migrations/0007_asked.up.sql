-- What the gateway is asked for, the newest first, found without reading a tenant's whole past.
create index action_by_time on action (tenant, intended, key);
create index audit_by_time on audit (tenant, time, seq);
-- What was done to one thing, and whether an incident was ever handed over, which a report asks of each.
create index audit_by_subject on audit (tenant, subject, time, seq);
