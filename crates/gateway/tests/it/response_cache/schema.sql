-- Tables of many shapes under row-level security.
create table public.notes (
    id bigint generated always as identity primary key,
    owner uuid not null default auth.uid(),
    body text not null,
    shared boolean not null default false
);
create table public.teams (id int primary key, name text not null);
create table public.members (team int references public.teams on delete cascade, member uuid, primary key (team, member));
create table public.tasks (
    id bigint generated always as identity primary key,
    team int not null references public.teams on delete cascade,
    title text not null,
    done boolean not null default false
);
create table public.documents (id bigint generated always as identity primary key, tenant text not null, text text not null);
create table public.posts (id bigint generated always as identity primary key, title text, published boolean not null default false);
create table public.admins (id uuid primary key);
create table public.secrets (id int primary key, value text not null);
create table public.feed (id bigint generated always as identity primary key, event text not null, at_note bigint);
create table public.counters (id int primary key, value bigint not null);

create function public.is_admin() returns boolean language sql stable security definer set search_path = '' as $$
    select exists (select from public.admins where id = auth.uid())
$$;
create function public.remember() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.feed (event, at_note) values (tg_op, coalesce(new.id, old.id));
    return null;
end $$;
create trigger remember after insert or update or delete on public.notes for each row execute function public.remember();

alter table public.notes enable row level security;
alter table public.teams enable row level security;
alter table public.members enable row level security;
alter table public.tasks enable row level security;
alter table public.documents enable row level security;
alter table public.posts enable row level security;
alter table public.secrets enable row level security;
alter table public.admins enable row level security;
create policy own on public.notes for all using (owner = auth.uid() or shared) with check (owner = auth.uid());
create policy mine on public.members for select using (member = auth.uid());
create policy join_leave on public.members for insert with check (member = auth.uid());
create policy leave on public.members for delete using (member = auth.uid());
create policy of_members on public.teams for select using (
    id in (select m.team from public.members m where m.member = auth.uid())
);
create policy of_members on public.tasks for all using (
    team in (select m.team from public.members m where m.member = auth.uid())
);
create policy tenant on public.documents for all using (tenant = auth.jwt()->>'tenant');
create policy teams_of_token on public.documents for select using (
    (auth.jwt()->'app_metadata'->'teams') @> to_jsonb(length(text) % 5)
);
create policy published on public.posts for select to anon using (published);
create policy all_of_them on public.posts for all to authenticated using (true) with check (public.is_admin());
create policy admins on public.secrets for select using (public.is_admin());

create view public.own_tasks with (security_invoker = true) as
    select t.title, t.done, g.name as team from public.tasks t join public.teams g on g.id = t.team;
create view public.totals as select count(*) as notes, count(*) filter (where shared) as shared from public.notes;
create function public.own_total() returns bigint language sql stable as $$ select count(*) from public.notes $$;
create function public.dice() returns double precision language sql volatile as $$ select random() $$;
create function public.repeat(times int) returns text language sql immutable as $$ select repeat('x', times) $$;
create function public.join_team(team int) returns void language sql as $$
    insert into public.members values (team, auth.uid()) on conflict do nothing
$$;
create function public.own_caching() returns text language plpgsql stable as $$
begin
    perform set_config('response.headers', '[{"Cache-Control": "public, max-age=1000"}]', true);
    return 'mine';
end $$;
create function public.title(public.tasks) returns text language sql stable as $$ select upper($1.title) $$;

insert into public.teams select i, 'team ' || i from generate_series(0, 5) i;
insert into public.members select i % 6, ('00000000-0000-0000-0000-' || lpad(to_hex(i), 12, '0'))::uuid
    from generate_series(1, 50) i;
insert into public.tasks (team, title) select i % 6, 'task ' || i from generate_series(1, 60) i;
insert into public.notes (owner, body, shared)
    select ('00000000-0000-0000-0000-' || lpad(to_hex(1 + i % 50), 12, '0'))::uuid, 'note ' || i, i % 11 = 0
    from generate_series(1, 200) i;
insert into public.documents (tenant, text) select 't' || i % 7, repeat('d', i) from generate_series(1, 40) i;
insert into public.posts (title, published) select 'post ' || i, i % 2 = 0 from generate_series(1, 20) i;
insert into public.secrets values (1, 'the cake'), (2, 'is a lie');
insert into public.admins values ('00000000-0000-0000-0000-000000000001'), ('00000000-0000-0000-0000-000000000002');
insert into public.counters values (1, 0), (2, 0);
grant all on all tables in schema public to anon, authenticated, service_role;
notify pgrst, 'reload schema';
