-- What is created in `public` is reachable by the API roles, as on Supabase: row level security decides who sees what.
do $$
declare
    owner constant text := current_setting('madbase.owner');
    maker text;
    kind text;
    place text;
begin
    for maker in select distinct unnest(array[owner, current_user::text, 'supabase_admin']) loop
        foreach place in array array['public', 'graphql_public'] loop
            foreach kind in array array['tables', 'sequences', 'functions'] loop
                execute format(
                    'alter default privileges for role %I in schema %I '
                    'grant all on %s to %I, anon, authenticated, service_role',
                    maker, place, kind, owner
                );
            end loop;
        end loop;
    end loop;
end
$$;
