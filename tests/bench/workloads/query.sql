-- Inserts, an index, grouping, a join.
create table item(id integer primary key, name text, class int);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
  insert into item select i, 'name' || (i * 7919 % 50021), i % 97 from n;
create index by_name on item(name);
select count(*), sum(class) from item where name like 'name1%';
select class, count(*), max(name) from item group by class order by 2 desc limit 5;
select count(*) from item x join item y on x.name = y.name where x.class = 5;
