-- Tables whose changes clients may follow; empty until the project's people add some.
do $$
begin
    if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
    execute format('alter publication supabase_realtime owner to %I', current_setting('madbase.owner'));
end
$$;
