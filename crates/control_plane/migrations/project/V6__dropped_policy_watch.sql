-- Policies that go, too: rows that they showed must not be shown from memory.
create or replace function extensions.pgrst_drop_watch() returns event_trigger
language plpgsql set search_path = '' as $$
begin
    if exists (
        select from pg_catalog.pg_event_trigger_dropped_objects() as it
        where not it.is_temporary and it.object_type in (
            'schema', 'table', 'table column', 'table constraint', 'foreign table', 'view', 'materialized view',
            'function', 'procedure', 'aggregate', 'type', 'composite type', 'domain', 'trigger', 'rule', 'cast', 'index',
            'policy'
        )
    ) then
        perform pg_catalog.pg_notify('pgrst', 'reload schema');
    end if;
end
$$;
