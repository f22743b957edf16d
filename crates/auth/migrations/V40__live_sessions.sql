-- What proxies must hear at once: sessions that ended, users that were banned, deleted or changed. Every process that
-- remembers sessions listens on `madbase_sessions`; a payload is session ids with commas between, or `*` for all.

-- Tokens of sessions that are no JWTs (`SessionManager`): digests only.
create table auth.session_tokens (
  session_id uuid not null primary key references auth.sessions (id) on delete cascade,
  token_hash text not null,
  email text not null,
  role text not null,
  created_at timestamptz not null default now()
);
comment on table auth.session_tokens is 'Auth: Digests of opaque session tokens.';

create function auth.tell_sessions(ids uuid[]) returns void language plpgsql set search_path = '' as $$
declare
  part text;
begin
  -- A payload holds less than 8000 bytes.
  for part in
    select pg_catalog.string_agg(id::text, ',')
    from (select id, pg_catalog.row_number() over () / 200 as chunk from pg_catalog.unnest(ids) as id) as numbered
    group by chunk
  loop
    perform pg_catalog.pg_notify('madbase_sessions', part);
  end loop;
end
$$;

create function auth.tell_ended_sessions() returns trigger language plpgsql set search_path = '' as $$
begin
  perform auth.tell_sessions(array(select id from gone));
  return null;
end
$$;
create trigger tell_ended_sessions after delete on auth.sessions
  referencing old table as gone for each statement execute function auth.tell_ended_sessions();

create function auth.tell_changed_session() returns trigger language plpgsql set search_path = '' as $$
begin
  perform auth.tell_sessions(array[new.id]);
  return null;
end
$$;
create trigger tell_changed_session after update on auth.sessions
  for each row when (old.not_after is distinct from new.not_after or old.user_id <> new.user_id)
  execute function auth.tell_changed_session();

create function auth.tell_all_sessions() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_catalog.pg_notify('madbase_sessions', '*');
  return null;
end
$$;
create trigger tell_all_sessions after truncate on auth.sessions
  for each statement execute function auth.tell_all_sessions();

create function auth.tell_changed_user() returns trigger language plpgsql set search_path = '' as $$
begin
  perform auth.tell_sessions(array(select id from auth.sessions where user_id = new.id));
  return null;
end
$$;
create trigger tell_changed_user after update on auth.users
  for each row when (
    old.banned_until is distinct from new.banned_until or old.deleted_at is distinct from new.deleted_at
    or old.role is distinct from new.role or old.email is distinct from new.email
  )
  execute function auth.tell_changed_user();

-- As for every table of this schema: owned by the service, row security on, open to the project's people.
do $$
declare
  person record;
  it record;
begin
  if current_user <> 'supabase_auth_admin' then
    execute 'alter table auth.session_tokens owner to supabase_auth_admin';
    for it in select format('alter function %s owner to supabase_auth_admin', oid::regprocedure) as text
      from pg_proc where pronamespace = 'auth'::regnamespace and proname like 'tell\_%'
    loop execute it.text; end loop;
  end if;
  execute 'alter table auth.session_tokens enable row level security';
  for person in select rolname from pg_roles
    where (rolname in ('postgres', 'dashboard_user') or rolname like 'postgres\_%')
      and has_database_privilege(oid, current_database(), 'connect')
  loop
    execute format('grant all on auth.session_tokens to %I with grant option', person.rolname);
    execute format('create policy %I on auth.session_tokens to %I using (true) with check (true)',
      person.rolname, person.rolname);
  end loop;
end
$$;
