"""PostgreSQL: schema, tenants, queries. The only room that knows SQLAlchemy and Redis."""
