-- Policies too: what they read decides what the data API tells the database about a request.
drop event trigger if exists pgrst_ddl_watch;
create event trigger pgrst_ddl_watch on ddl_command_end
    when tag in (
        'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
        'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE VIEW', 'ALTER VIEW',
        'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION',
        'CREATE PROCEDURE', 'ALTER PROCEDURE', 'CREATE AGGREGATE', 'ALTER AGGREGATE', 'CREATE TRIGGER', 'CREATE TYPE',
        'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN', 'CREATE CAST', 'CREATE RULE', 'CREATE INDEX', 'COMMENT',
        'GRANT', 'REVOKE', 'CREATE EXTENSION', 'ALTER EXTENSION', 'CREATE POLICY', 'ALTER POLICY'
    )
    execute function extensions.pgrst_ddl_watch();
