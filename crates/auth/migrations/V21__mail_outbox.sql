-- Mails that wait to be sent, sealed with a key that is not in this database: a process that dies loses none.
-- Written with the token that a mail carries, deleted when a server took it; whose time is over belongs to nobody.

create table auth.mail_outbox (
  id uuid not null primary key,
  mail text not null,
  created_at timestamptz not null,
  due_at timestamptz not null,
  attempts integer not null default 0
);
comment on table auth.mail_outbox is 'Auth: Mails that wait to be sent, sealed.';
create index mail_outbox_due_at_idx on auth.mail_outbox (due_at);

-- As for every table of this schema: owned by the service, row security on, open to the project's people.
do $$
declare
  person record;
begin
  if current_user <> 'supabase_auth_admin' then
    execute 'alter table auth.mail_outbox owner to supabase_auth_admin';
  end if;
  execute 'alter table auth.mail_outbox enable row level security';
  for person in select rolname from pg_roles
    where (rolname in ('postgres', 'dashboard_user') or rolname like 'postgres\_%')
      and has_database_privilege(oid, current_database(), 'connect')
  loop
    execute format('grant all on auth.mail_outbox to %I with grant option', person.rolname);
    execute format('create policy %I on auth.mail_outbox to %I using (true) with check (true)',
      person.rolname, person.rolname);
  end loop;
end
$$;
