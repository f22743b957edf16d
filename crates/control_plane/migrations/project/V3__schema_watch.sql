-- Tell the data API when what it serves has changed, so that nobody has to remember `notify pgrst`.
create or replace function extensions.pgrst_ddl_watch() returns event_trigger
language plpgsql set search_path = '' as $$
begin
    if exists (
        select from pg_catalog.pg_event_trigger_ddl_commands() as it
        where it.schema_name is distinct from 'pg_temp'
    ) then
        perform pg_catalog.pg_notify('pgrst', 'reload schema');
    end if;
end
$$;

create or replace function extensions.pgrst_drop_watch() returns event_trigger
language plpgsql set search_path = '' as $$
begin
    if exists (
        select from pg_catalog.pg_event_trigger_dropped_objects() as it
        where not it.is_temporary and it.object_type in (
            'schema', 'table', 'table column', 'table constraint', 'foreign table', 'view', 'materialized view',
            'function', 'procedure', 'aggregate', 'type', 'composite type', 'domain', 'trigger', 'rule', 'cast', 'index'
        )
    ) then
        perform pg_catalog.pg_notify('pgrst', 'reload schema');
    end if;
end
$$;

drop event trigger if exists pgrst_ddl_watch;
create event trigger pgrst_ddl_watch on ddl_command_end
    when tag in (
        'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
        'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE VIEW', 'ALTER VIEW',
        'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION',
        'CREATE PROCEDURE', 'ALTER PROCEDURE', 'CREATE AGGREGATE', 'ALTER AGGREGATE', 'CREATE TRIGGER', 'CREATE TYPE',
        'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN', 'CREATE CAST', 'CREATE RULE', 'CREATE INDEX', 'COMMENT',
        'GRANT', 'REVOKE', 'CREATE EXTENSION', 'ALTER EXTENSION'
    )
    execute function extensions.pgrst_ddl_watch();

drop event trigger if exists pgrst_drop_watch;
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch();
