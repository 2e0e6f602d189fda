-- What the gateway is asked for, the newest first, found without reading a tenant's whole past.
create index action_by_time on action (tenant, intended, key);
create index audit_by_time on audit (tenant, time, seq);
