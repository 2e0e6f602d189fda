-- A tenant's calm sets its threshold for a version that learned from another tenant, too: `calm`.
alter table calibration drop constraint calibration_source_check;
alter table calibration add constraint calibration_source_check check (source in ('training', 'labels', 'calm'));
