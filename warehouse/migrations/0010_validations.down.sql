delete from column_registry
where table_name in ('validation', 'validation_observation', 'disagreement', 'validation_verdict');
drop table validation_verdict, disagreement, validation_observation, validation;
