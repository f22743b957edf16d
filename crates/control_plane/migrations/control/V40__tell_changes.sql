-- Proxies remember projects for a minute; a change is told to them by the commit that makes it.
create function madbase.tell_project() returns trigger language plpgsql set search_path = '' as $$
begin
    perform pg_catalog.pg_notify('madbase_projects', new.ref);
    return null;
end
$$;

create trigger tell_project after insert or update on madbase.projects
    for each row execute function madbase.tell_project();
