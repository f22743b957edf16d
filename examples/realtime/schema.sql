create table notes (id bigint generated always as identity primary key, body text not null);
alter table notes enable row level security;
create policy "everybody reads" on notes for select using (true);
create policy "everybody writes" on notes for insert with check (true);
alter publication supabase_realtime add table notes;
