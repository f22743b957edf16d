-- Rows for the task board, the same on every run: 4 organisations, 20 boards, 12,000 tasks, 6,000 comments, 24 labels,
-- 18,000 task labels. Nobody is a member of anything yet: users come by the auth API, and the tests add them.
--
-- Organisation n has the id 00000000-0000-4000-8000-00000000000n and the boards 5n-4 to 5n;
-- board b has the tasks 600(b-1)+1 to 600b.

begin;

insert into public.organisations (id, name, created_by)
select format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, name, null
from unnest(array['Analytical Engines', 'Difference & Sons', 'Loom Works', 'Bernoulli Ltd']) with ordinality as it (name, n);

insert into public.boards (id, organisation_id, name)
select b,
       format('00000000-0000-4000-8000-%s', lpad(((b - 1) / 5 + 1)::text, 12, '0'))::uuid,
       (array['Backlog', 'Website', 'Engine room', 'Hiring', 'Support'])[(b - 1) % 5 + 1]
from generate_series(1, 20) as b;

insert into public.tasks (id, board_id, title, description, status, priority, position, tags, details, planned, due_on, created_by)
select t,
       (t - 1) / 600 + 1,
       format('%s the %s (%s)',
              (array['Repair', 'Paint', 'Measure', 'Replace', 'Document', 'Ship', 'Review'])[t % 7 + 1],
              (array['boiler', 'gear train', 'card reader', 'printer', 'invoice', 'front page', 'staircase', 'bell',
                     'piston', 'ledger', 'window'])[t % 11 + 1],
              t),
       case when t % 4 = 0 then format('Customer %s waits for this; see ticket T-%s.', t % 97, t) else '' end,
       (array['todo', 'doing', 'done'])[t % 3 + 1]::public.task_status,
       (t % 5 + 1)::smallint,
       (t - 1) % 600 + 1,
       case when t % 10 = 0 then array['urgent', 'customer'] when t % 3 = 0 then array['customer'] else '{}'::text[] end,
       jsonb_build_object('estimate', jsonb_build_object('hours', t % 40 + 1), 'source', (array['mail', 'phone', 'web'])[t % 3 + 1]),
       daterange(date '2030-01-01' + t % 365, date '2030-01-08' + t % 365),
       case when t % 6 <> 0 then date '2030-01-08' + t % 365 end,
       null
from generate_series(1, 12000) as t;

insert into public.comments (id, task_id, author_id, body)
select c, c * 2, null, format('Note %s: %s', c, (array['done by Friday', 'waiting for parts', 'please check', 'looks good'])[c % 4 + 1])
from generate_series(1, 6000) as c;

insert into public.labels (id, organisation_id, name, color)
select n,
       format('00000000-0000-4000-8000-%s', lpad(((n - 1) / 6 + 1)::text, 12, '0'))::uuid,
       (array['bug', 'feature', 'question', 'chore', 'security', 'idea'])[(n - 1) % 6 + 1],
       (array['#cc3333', '#33cc33', '#3333cc', '#888888', '#cc33cc', '#cccc33'])[(n - 1) % 6 + 1]
from generate_series(1, 24) as n;

insert into public.task_labels (task_id, label_id)
select t, (t - 1) / 3000 * 6 + (t / 2 + k * 2) % 6 + 1
from generate_series(1, 12000) as t, generate_series(0, 1) as k
where t % 2 = k or t % 4 < 2;

-- Identity columns go on after the seed.
alter table public.boards alter column id restart with 21;
alter table public.tasks alter column id restart with 12001;
alter table public.comments alter column id restart with 6001;
alter table public.labels alter column id restart with 25;

commit;

analyze public.organisations, public.boards, public.tasks, public.comments, public.labels, public.task_labels;
