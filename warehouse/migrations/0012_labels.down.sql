drop table retraining, retired_model, model_lineage, question, author_weight, label_evidence;
delete from column_registry where table_name in
    ('retraining', 'retired_model', 'model_lineage', 'question', 'author_weight', 'label_evidence');
