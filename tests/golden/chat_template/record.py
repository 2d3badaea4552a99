"""Records what Python's jinja2 renders, set up as transformers does, for the templates below.

Run it after adding a template: python3 tests/golden/chat_template/record.py (needs jinja2 3.1.6).
Writes cases.jsonl beside it: template, and `text` or `error` (the Python exception). All see CONTEXT.
"""
import datetime
import json
import pathlib

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONTEXT = {
    "s": "Hello, World", "e": "", "u": "Zürich 你好 😀", "w": "  \t padded \n ", "lines": "a\nb\r\nc\n",
    "n": None, "t": True, "f": False, "i": 7, "neg": -7, "big": 18446744073709551615, "r": 2.5, "tiny": 1e-7,
    "huge": 1e22, "xs": [3, 1, 2], "names": ["b", "A", "c", "B"], "nothing": [], "mixed": [1, "a", None, 2.0, True],
    "d": {"b": 1, "a": 2, "items": 3, "z": {"y": [10, 20]}}, "people": [
        {"name": "Ann", "age": 30, "tags": ["x", "y"]}, {"name": "bob", "age": 25}, {"name": "Cid", "age": 30}],
    "html": "<a href=\"x\">'&'</a>", "quote": "it's", "both": "it's \"so\"", "control": "\x00\x1f\x7f\xa0\u200b\n\t\\",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4
2 ** 3 ** 2
-2 ** 2
7 // 2, -7 // 2, 7 // -2, 7 % 3, -7 % 3, 7 % -3
7.5 // 2, -7.5 // 2, 7.5 % 2, -7.5 % 2, 7.5 % -2
1 / 3, 4 / 2, 1e300 * 10, 0.1 + 0.2
1 / 0
1 // 0
1 % 0
1.0 / 0
2 ** -1, 2 ** 0.5, 0 ** 0
10 ** 30
big, big + 1, -big
9223372036854775807 + 1
1_000, 0x1F, 0b101, 0o17, 1e3, 1.5e-3, 1_0.5
1.0, 1e16, 1e15, 123456789012345678.0, 1e-4, 1e-5, tiny, huge, 1e100, -0.0
true, false, none, True, False, None
'a' 'b' "c"
'\n\t\\\'\"\x41\u00e9\U0001F600\101\q\é'
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1] ~ nosuch
'a' + 'b', [1] + [2], (1,) + (2,)
'a' + 1
1 + 'a'
[1] + (2,)
'ab' * 3, 3 * 'ab', 'ab' * 0, 'ab' * -1, [1, 2] * 2, (1,) * 2
'a' * 1.5
- 'a'
+t, -t, t + t, t * 3
not t, not f, not e, not nothing, not 0, not 0.0, not n, not nosuch
t and i, f and i, t or i, f or i, n or 'x', 0 or '' or [] or 'last'
1 < 2 < 3, 1 < 3 < 2, 3 > 2 > 1, 1 == 1.0 == true
1 == '1', 'a' == 'a', [1, 2] == [1, 2], (1,) == [1], {'a': 1} == {'a': 1.0}, n == none, nosuch == nosuch, nosuch == none
1 != 2, 'a' != 'b'
'a' < 'b', 'a' < 'B', [1, 2] < [1, 3], [1] < [1, 0], (1, 'a') < (1, 'b')
1 < 'a'
n < 1
nosuch < 1
[1, 'a'] < [1, 2]
1 in xs, 9 in xs, 'a' in 'cat', 'x' not in 'cat', '' in 'a', 'a' in d, 'nosuch' in d, 1.0 in xs, true in [1]
1 in 'cat'
1 in 5
1 in n
nosuch in 'cat'
'a' in nosuch
[] in d
xs[0], xs[-1], xs[9], xs['a']
xs[0:2], xs[::-1], xs[::2], xs[-2:], xs[:-1], xs[5:], xs[2:0:-1], xs[none:2], xs[:]
s[0], s[-1], s[0:5], s[::-1], s[::3], s[-3:-1], s[100:], u[-1], u[7:9], u[::-1]
xs[::0]
xs['a':]
d[0:1]
n[0:1]
d.a, d['b'], d.nosuch, d['nosuch'], d.z.y[1], d.z['y'][0], d.z.y.0
d.items is defined, d.items is callable
d.nosuch.deeper
nosuch.a
nosuch['a']
nosuch()
nosuch + 1
'a' + nosuch
n.a, n.a is defined
n.a.b
i.a is defined, s.a is defined, xs.a is defined
s()
i()
d.__class__ is defined, s.__len__ is defined
xs.append(1)
xs.append is defined, d.update is defined, d.pop is defined
d.update({'c': 1})
(1), (1,), (1, 2), (), [1, 2,], {'a': 1, 'b': [2]}, {}
{1: 'a', none: 'b', (1, 2): 'c', true: 'd'}
{[]: 1}
1, 2, 3
'yes' if t else 'no', 'yes' if f else 'no', ('x' if f), ('x' if f) is defined
'a' if f else 'b' if f else 'c'
('x' if f) + 'a'
(s if t else e).upper()
xs | length + 1
-1 | abs, (-1) | abs, -xs[0] | abs
not xs | length > 5
1 + 2 | string ~ 'x'
s | lower | upper | length
[1, 2, 3][1], 'abc'[1], {'a': 5}['a'], (1, 2)[0]
range(5) | list, range(2, 8, 3) | list, range(5, 0, -2) | list, range(3), range(1, 9, 2)
range(3)[1], range(3)[-1], range(3)[5] is defined, range(3) | length, 2 in range(3), range(0) | list, range(3)[1:]
range(100001)
range(1, 2, 0)
range('a')
range()
dict(a=1, b=2), dict({'a': 1}, b=2), dict([('x', 1)])
namespace(a=1).a, namespace({'b': 2}).b, namespace().nosuch is defined
lipsum is defined, cycler is defined, joiner is defined
raise_exception('it failed')
strftime_now('%Y-%m-%d %H:%M:%S %a %A %b %B %d %j %p %y %% %f')
[1, [2.0, 'a', none, true], {'k': 'v'}, (1,)]
both, [both], [quote], [control], [u]
"""

STRINGS = r"""
w.strip(), w.lstrip(), w.rstrip(), 'xxaxx'.strip('x'), 'abcab'.strip('ba'), 'üaü'.strip('ü'), w.strip(none)
'a,b,,c'.split(','), ' a  b '.split(), 'a b c'.split(' ', 1), 'a b c'.split(none, 1), ''.split(), ''.split(','), 'a  b  c '.split(none, 1)
'a,b,,c'.rsplit(',', 1), ' a  b c '.rsplit(none, 1), 'aaa'.rsplit('aa'), 'aaa'.split('aa'), 'a b'.split(sep=' ', maxsplit=1)
'a'.split('')
lines.splitlines(), lines.splitlines(true), 'a\n\nb'.splitlines(), ''.splitlines(), 'a\x0bb\x1cc\u2028d'.splitlines()
s.startswith('He'), s.startswith(('x', 'He')), s.endswith('ld'), s.endswith(('x',)), s.startswith('lo', 3), s.startswith(''), s.endswith('lo', 0, 5)
s.startswith(1)
s.startswith(['H'])
s.upper(), s.lower(), s.title(), s.capitalize(), s.swapcase(), u.upper(), 'straße'.upper(), 'ÉCOLE'.lower(), 'ΑΣ'.lower(), 'ß'.title(), "it's o'neil".title()
'ŉ ǆ ﬁ'.upper(), 'ǆ'.title(), 'İ'.lower() | length, 'ﬁx'.capitalize(), 'Straße'.casefold()
s.replace('l', 'L'), s.replace('l', 'L', 1), 'ab'.replace('', '-'), 'ab'.replace('', '-', 2), ''.replace('', 'x'), 'aaa'.replace('aa', 'b')
s.replace('a')
s.replace('a', 1)
s.find('o'), s.find('o', 5), s.find('zz'), s.rfind('o'), s.index('W'), s.find('o', -5), u.find('你'), u.find(''), s.find('', 50), s.rfind('o', 0, 5)
s.index('zz')
s.count('l'), s.count(''), 'aaaa'.count('aa'), s.count('l', 4), u.count('')
','.join(['a', 'b']), ''.join([]), '-'.join('abc'), ','.join(d)
','.join([1])
','.join(n)
'a'.center(5), 'ab'.center(5), 'ab'.center(5, '*'), 'a'.ljust(3, '.'), 'a'.rjust(3, '.'), 'abc'.center(2), '5'.zfill(3), '-5'.zfill(4), '+5'.zfill(4)
'a\tb'.expandtabs(), 'a\tb'.expandtabs(4), 'ab\n\tc'.expandtabs(2)
'a.b.c'.partition('.'), 'a.b.c'.rpartition('.'), 'abc'.partition('.'), 'abc'.rpartition('.')
'TestHook'.removeprefix('Test'), 'x.py'.removesuffix('.py'), 'x'.removeprefix('y')
'abc'.isalpha(), 'ab1'.isalnum(), '12'.isdigit(), '²'.isdigit(), '²'.isdecimal(), '½'.isnumeric(), ' \t'.isspace(), ''.isspace(), 'ab'.islower(), 'AB1'.isupper(), '12'.islower(), 'Ab Cd'.istitle(), 'a_1'.isidentifier(), '1a'.isidentifier(), 'é'.isalpha(), 'é'.isascii(), '\n'.isprintable(), ''.isprintable()
'{} {}'.format(1, 'a'), '{0} {1} {0}'.format('x', 2), '{a} {b.age} {c[name]}'.format(a=1, b=people[0], c=people[1]), '{{}}'.format(), '{!r}'.format('x'), '{x[0]}'.format(x=xs)
'{:5}|{:<5}|{:>5}|{:^5}|{:*^7}|{:05d}|{:+d}|{:,}|{:_}|{:x}|{:#x}|{:o}|{:b}|{:c}'.format('a', 'b', 'c', 'd', 'e', 42, 42, 1234567, 1234567, 255, 255, 8, 5, 65)
'{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.3}|{:.1%}|{}|{:08.2f}|{:.0f}|{:,.2f}|{:g}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.5, 1234.5678, 0.123, 1.0, -1.5, 2.5, 12345.678, 1e20)
'{:.3s}|{:10.2s}|{:>{w}}|{:{f}^{w}}'.format('abcdef', 'abcdef', 'x', 'y', w=5, f='*')
'{}'.format()
'{} {0}'.format(1)
'{a}'.format(1)
'{'.format(1)
'}'.format(1)
'{:d}'.format('a')
'{:x}'.format(1.5)
'%s %d %r %5.2f %-5s| %05d %+d %x %X %o %e %g %c %c %%' % ('a', 42, 'b', 3.14159, 'c', 42, 42, 255, 255, 8, 12345.678, 0.0001, 'x', 65)
'%s' % 'a', '%s' % [1, 2], '%(a)s %(b)d' % d, '%s %s' % (1, none), '%*d' % (5, 42), '%.3s' % 'abcdef', '%5s|%-5s' % ('a', 'b'), '%d' % 3.7, '%i' % t
'%s %s' % 'a'
'%s' % (1, 2)
'%d' % 'a'
'%q' % 1
'%(x)s' % {}
'%s'|format('a'), '%s %s'|format(1, 2), '%(a)s'|format(a=3)
'a'.nosuch()
"""

FILTERS = r"""
neg | abs, -2.5 | abs, t | abs
'a' | abs
[1, 2, 3, 4, 5] | batch(2) | list, [1, 2, 3] | batch(2, 'x') | list, [] | batch(2) | list
s | capitalize, 'FOO bar' | capitalize, n | capitalize, i | capitalize
'a' | center(5), 'ab' | center(7), s | center | length
nosuch | default('x'), e | default('x'), e | default('x', true), n | default('x'), n | d('x', boolean=true), nosuch | default, f | default(1, true)
d.z | dictsort, {'b': 1, 'A': 2, 'c': 0} | dictsort, {'b': 1, 'A': 2} | dictsort(true), {'b': 1, 'A': 2} | dictsort(by='value'), {'b': 1, 'a': 2} | dictsort(reverse=true)
xs | dictsort
{'a': 1, 2: 3} | dictsort
nosuch | dictsort
html | e, html | escape, html | e | e, html | forceescape, 1 | e, html | safe | e, (html | safe) ~ '<', '<' + ('<' | e), n | e
1000 | filesizeformat, 1 | filesizeformat, 500 | filesizeformat, 1500000 | filesizeformat, 1024 | filesizeformat(true), 1e30 | filesizeformat
xs | first, e | first, nothing | first, 'abc' | first, d | first, (nothing | first) is defined
(nothing | first) + 1
n | first
'1.5' | float, 'x' | float, 'x' | float(9), n | float, '1e3' | float, ' 2 ' | float, t | float, '1_0' | float, [] | float(1)
'42' | int, '4.9' | int, 'x' | int, 'x' | int(7), 3.9 | int, -3.9 | int, n | int, '0x1F' | int(0, 16), '1010' | int(0, 2), '1_000' | int, ' 7 ' | int, t | int, '' | int, '1e3' | int, 'ff' | int(base=16)
nosuch | int
nosuch | float
people | groupby('age') | list, names | groupby('0') | map('first') | list
people | groupby('age') | map(attribute='grouper') | list, (people | groupby('nosuch', default=1))[0].list | length, (people|groupby('age'))[0].list[0].name
lines | indent, 'a\nb\n\nc' | indent(2), 'a\nb' | indent(2, true), 'a\n\nb' | indent(2, blank=true), 'a\nb' | indent('> '), '' | indent, '' | indent(2, true)
1 | indent
xs | join, xs | join(', '), people | join('|', attribute='name'), 'abc' | join('-'), [1, none, nosuch, 'x'] | join(','), nothing | join, d | join(','), xs | join(1), nosuch | join(',')
n | join
xs | last, nothing | last, 'abc' | last, d | last, range(3) | last
xs | select | last
xs | length, s | length, u | length, d | length, nosuch | length, range(4) | length, d.items() | length, xs | count
n | length
i | length
(xs | select) | length
s | list, d | list, nosuch | list, d.items() | list, (1, 2) | list
n | list
s | lower, n | lower, nosuch | lower, 1 | upper, u | upper
names | map('lower') | list, people | map(attribute='name') | list, people | map(attribute='tags.0', default='-') | list, people | map(attribute='nosuch') | list, [1, 2] | map('string') | join('-'), ['a b'] | map('split') is defined, [[1, 2], [3]] | map('sum') | list, [1.234] | map('round', 1) | list, nosuch | map('upper') | list, n | map('upper') | list
names | map('nosuch') | list
names | map | list
xs | map(attribute='a') | list
xs | max, xs | min, names | max, names | min, names | max(case_sensitive=true), people | max(attribute='age'), nothing | max, (nothing | min) is defined
mixed | max
xs | reject('odd') | list, xs | select('odd') | list, xs | select('gt', 1) | list, [0, 1, '', 'a'] | select | list, [0, 1] | reject | list, xs | select('in', [1, 2]) | list, mixed | select('string') | list, xs | select('==', 3) | list
people | selectattr('tags') | map(attribute='name') | list, people | selectattr('age', 'equalto', 30) | map(attribute='name') | list, people | rejectattr('tags') | map(attribute='name') | list, people | selectattr('age', 'gt', 26) | list | length, people | selectattr('tags', 'defined') | list | length, messages | rejectattr('role', 'in', ['system']) | map(attribute='content') | join
xs | select('nosuch') | list
xs | selectattr | list
s | replace('l', 'L'), s | replace('l', 'L', 1), 1234 | replace(2, 'x'), n | replace('o', '0'), nosuch | replace('a', 'b')
xs | reverse | list, s | reverse, u | reverse, d | reverse | list, range(3) | reverse | list, (xs | select) | reverse | list
n | reverse
2.5 | round, 3.5 | round, 2.675 | round(2), 2.345 | round(1, 'ceil'), 2.345 | round(1, 'floor'), 7 | round, 1234 | round(-2), 1250 | round(-2), 1.5 | round(method='floor'), -2.5 | round, 1e22 | round, 0.5 | round(0), 12.5 | round(-1), 7 | round(1, 'floor')
'a' | round
2.5 | round(1, 'x')
[1, 2, 3, 4, 5] | slice(2) | list, [1, 2, 3, 4, 5] | slice(3, 'x') | list, [] | slice(2) | list
xs | sort, xs | sort(true), names | sort, names | sort(case_sensitive=true), people | sort(attribute='age') | map(attribute='name') | list, people | sort(attribute='age,name') | map(attribute='name') | list, people | sort(attribute='age', reverse=true) | map(attribute='name') | list, d | sort, 'hello' | sort
mixed | sort
1 | string, n | string, [1] | string, s | string
html | striptags, 'a <!-- x --> b  <b>c</b>' | striptags
xs | sum, people | sum(attribute='age'), xs | sum(start=10), [1.5, 2] | sum, [[1], [2]] | sum(start=[]), nothing | sum
names | sum
s | title, "it's a-b (c d) [e" | title, 'FOO' | title
{'b': [1, 2.0, none, true, 'x"é\n\u2028'], 'a': {}} | tojson, [] | tojson, [[]] | tojson, s | tojson, 1.0 | tojson, u | tojson, u | tojson(ensure_ascii=true), control | tojson, (1, 2) | tojson, {1: 2, none: 3, true: 4, 1.5: 5} | tojson, huge | tojson, big | tojson
d | tojson(indent=2), d | tojson(indent=0), d.z | tojson(indent='--'), d | tojson(sort_keys=true), d | tojson(separators=(',', ':')), [] | tojson(indent=2), [{}] | tojson(indent=2), d.z | tojson(indent=1, separators=('; ', ' = ')), html | tojson
nosuch | tojson
(xs | select) | tojson
d.items() | tojson
{(1, 2): 3} | tojson
w | trim, 'xxaxx' | trim('x'), n | trim, nosuch | trim, 1 | trim
s | truncate(8), s | truncate(9, true), s | truncate(5, true, '…', 0), s | truncate(7, false, '', 0), 'short' | truncate, s | truncate(5, leeway=0)
s | truncate(2)
names | unique | list, names | unique(case_sensitive=true) | list, people | unique(attribute='age') | map(attribute='name') | list, [1, 1.0, true] | unique | list
[[1]] | unique | list
s | upper, 'ß' | upper
'a b/c?é' | urlencode, {'a': 1, 'b c': 'd&e'} | urlencode, [('x', 'y')] | urlencode, 5 | urlencode
s | wordcount, 'a_b c-d é' | wordcount, '' | wordcount
{'class': 'x', 'id': none, 'v': '<'} | xmlattr, {} | xmlattr, {'a': 1} | xmlattr(false)
d.z | items | list, nosuch | items | list
xs | items | list
d | attr('a') is defined, s | attr('upper') is defined, namespace(q=4) | attr('q')
1 is odd, 2 is even, 6 is divisibleby 3, 6 is divisibleby(4), 1.5 is odd
'a' is odd
n is none, n is not none, nosuch is none, nosuch is defined, n is defined, nosuch is undefined, i is undefined
t is boolean, 1 is boolean, t is true, 1 is true, f is false, 0 is false, t is integer, 1 is integer, 1.0 is integer, 1.0 is float, 1 is float, t is number, 1 is number, 1.5 is number, '1' is number
'a' is string, n is string, d is mapping, xs is mapping, nosuch is mapping, xs is sequence, s is sequence, d is sequence, i is sequence, (xs | select) is sequence, range(2) is sequence, d.keys() is sequence, (1,) is sequence
xs is iterable, i is iterable, n is iterable, s is iterable, nosuch is iterable, (xs | select) is iterable
range is callable, s.upper is callable, s is callable
'abc' is lower, 'ABC' is upper, 'Abc' is lower, '1' is lower, n is lower
1 is sameas 1, t is sameas true, 1 is sameas true, n is sameas none, xs is sameas xs, 'a' is sameas 'b'
1 is in xs, 9 is not in xs, 'a' is in 'cat'
1 is eq 1, 1 is equalto 2, 2 is gt 1, 2 is ge 2, 1 is lt 2, 1 is le 0, 1 is ne 2, 1 is greaterthan 0, 1 is lessthan 0
'upper' is filter, 'nosuch' is filter, 'odd' is test, 'nosuch' is test
html is escaped, (html | safe) is escaped
not 1 is odd, 1 is odd and 2 is even, 1 is not odd
d.get('a'), d.get('nosuch'), d.get('nosuch', 5), d.get(1, 2), {1: 2}.get(true), d.keys() | list, d.values() | list, d.items() | first, d.keys(), d.z.items(), d.z.copy()
d.get([])
d.get()
xs.count(1), xs.index(2), (1, 1).count(1), xs.copy()
xs.index(9)
(2.0).is_integer(), (2.5).is_integer(), 5 .bit_length() if false else 1
"""

TEMPLATES = [
    "a\n{% if t %}\n  b\n{% endif %}\nc\n",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n\n",
    "a {%- if t -%} b {%- endif -%} c",
    "a {%+ if t +%} b {%+ endif %}\nc",
    "  {{ 1 }}  \n  {{- 2 -}}  \n  3",
    "  {%- set x = 1 -%}\n\n x={{ x }}\n",
    "{# c #}\n a {#- c -#} b\n  {# c #}\n d {# x\n y #} e",
    "x\n   {# c #}   \ny",
    "{% raw %}{{ x }} {% if %}{% endraw %}\nz", " {%- raw -%} a {{ }} {%- endraw -%} b", "  {% raw %}\n x\n  {% endraw %}\ny",
    "{% raw %}{# no #}{% endraw %}", "{{ '{{' }} {{ '%}' }} {{ '}}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}{{ {} }}",
    "a\r\nb\rc\r\n", "a\n\n", "\n", "", "{{ 1 }}\n", "{ {% if t %}{% endif %} } { # %}",
    "{% if f %}a{% elif i == 7 %}b{% elif t %}c{% else %}d{% endif %}", "{% if nosuch %}a{% else %}b{% endif %}",
    "{% for x in xs %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in xs %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in nothing %}a{% else %}b{% endfor %}",
    "{% for x in nosuch %}a{% else %}b{% endfor %}", "{% for x in n %}a{% endfor %}", "{% for x in 5 %}a{% endfor %}",
    "{% for k, v in d.z.items() %}{{ k }}={{ v }}{% endfor %}", "{% for k in d %}{{ k }} {% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for a, b in [(1,)] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in xs if x > 9 %}a{% else %}none{% endfor %}", "{% for x in xs if loop.first %}a{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for x in [1, 2, 3, 4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ x }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in xs %}{% break %}{% else %}never{% endfor %}", "{% for x in xs %}{{ loop }}{% endfor %}",
    "{% for x in xs %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for n in [{'v': 1, 'c': [{'v': 2, 'c': [{'v': 3}]}]}] recursive %}{{ loop.depth }}:{{ n.v }}({{ loop(n.c) if n.c }}){% endfor %}",
    "{% for x in xs %}{{ loop(xs) }}{% endfor %}", "{% for x in (xs | select) %}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% set x = 1 %}{% for y in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }} {% endfor %}{{ x }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}", "{% if t %}{% set q = 2 %}{% endif %}{{ q }}",
    "{% for y in [1] %}{% set q = 2 %}{% endfor %}{{ q }}|{{ y }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 1 %}",
    "{% set (a, b) = xs[:2] %}{{ a }}{{ b }}", "{% set x = 1, %}{{ x }}",
    "{% set ns = namespace(a=1) %}{% for x in xs %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}", "{% set d.a = 1 %}",
    "{% set nosuch.a = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns }}",
    "{% set x %}a{{ i }}b{% endset %}[{{ x }}]", "{% set x | upper %}a{{ i }}b{% endset %}{{ x }}",
    "{% set x | replace('a', 'b') | upper %}aa{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}",
    "{% set ns = namespace() %}{% set ns.x %}t{% endset %}{{ ns.x }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 3) }}|{{ m(1, c=4) }}|{{ m(a=5) }}|{{ m() }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}", "{% macro m(a) %}{{ a + 1 }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a) %}x{% endmacro %}{{ m(1, a=2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body{{ i }}{% endcall %}",
    "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
    "{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{{ x }}", "{{ m }}{% macro m() %}{% endmacro %}{{ m.name }}",
    "{% macro a() %}a{{ b() }}{% endmacro %}{% macro b() %}b{% endmacro %}{{ a() }}",
    "{% macro m(x) %}{% for y in x %}{{ y }}{% if y > 1 %}!{% endif %}{% endfor %}{% endmacro %}{{ m(xs) | upper }}{{ m([1]) | length }}",
    "{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(l) %}{{ l | join(',') }}{% endmacro %}{{ m(*[xs]) }}{{ m(**{'l': [1]}) }}",
    "{% filter upper %}a{{ s }}b{% endfilter %}", "{% filter replace('a', 'b') | upper %}aa{% endfilter %}", "{% filter indent(2) %}\na\nb\n{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% with i = i + 1 %}{{ i }}{% endwith %}{{ i }}",
    "{% generation %}a{{ i }}{% set q = 1 %}{% endgeneration %}{{ q }}", "{% print i, s %}", "{% if t: %}a{% endif %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
    "{% set j = joiner(', ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner() %}{{ j() }}{{ j() }}",
    "{% if f %}{{ 1 | nosuch }}{% endif %}ok", "{{ (1 | nosuch) if f else 2 }}", "{{ 1 | nosuch }}", "{{ 1 is nosuch }}", "{% if t %}{{ 1 | nosuch }}{% endif %}",
    "{{ 1 + }}", "{{ }}", "{% if %}{% endif %}", "{% for %}{% endfor %}", "{% if t %}", "{% endif %}", "{{ 1", "{% if t", "{# x", "{% raw %}x", "{% nosuch %}",
    "{{ 'a }}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{{ [1} }}", "{% set 1 = 2 %}", "{% set none = 2 %}", "{% break %}", "{{ a.1b }}", "{{ @ }}", "{{ f(a=1, 2) }}",
    "{{ a..b }}", "{% else %}", "{% for x in xs %}{% else %}{% else %}{% endfor %}", "{% macro %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% call 5 %}{% endcall %}", "{% filter %}{% endfilter %}", "{{ 1 is odd is even }}", "{{ '\\x4' }}", "{% do 1 %}", "{% set x %}", "{{ 1 if }}",
    "{%- for m in messages -%}<|{{ m.role }}|>{{ m['content'] | trim }}{%- if not loop.last %}\n{% endif -%}{%- endfor %}\n",
    "{{ messages | map(attribute='role') | join(' ') }} {{ messages[-1].content }} {{ messages[1:] | length }}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ sys }}{% for m in loop_messages %}{{ m.role }}{% endfor %}",
]


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_show"), [], [], body).set_lineno(line)

    def _show(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = datetime.datetime(2024, 7, 26, 12, 34, 56).strftime
    return made


def render(made, template):
    try:
        return {"text": made.from_string(template).render(**CONTEXT)}
    except Exception as error:  # whatever Python raises is the expected outcome
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    lines = (EXPRESSIONS + STRINGS + FILTERS).splitlines()
    templates = ["{{ " + line + " }}" for line in lines if line] + TEMPLATES
    made = environment()
    rows = [{"template": template, **render(made, template)} for template in templates]
    folder = pathlib.Path(__file__).parent
    (folder / "context.json").write_text(json.dumps(CONTEXT, ensure_ascii=False, indent=1) + "\n")
    with (folder / "cases.jsonl").open("w") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(rows)} cases, {sum('error' in row for row in rows)} errors")


if __name__ == "__main__":
    main()
