delete from column_registry where table_name = 'promotion' or (table_name, column_name) = ('validation', 'taken_back');
alter table validation drop column taken_back;
drop table promotion;
