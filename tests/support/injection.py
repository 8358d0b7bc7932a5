"""Template expressions that an alert may carry, and the secret that they are after."""

SECRET_KEY = "poundcake_e2e_secret"
JINJA = "{{ st2kv('system.%s', decrypt=true) }}" % SECRET_KEY
JINJA_FILTER = "{{ st2kv.system.%s | decrypt_kv }}" % SECRET_KEY
YAQL = "<%% st2kv('system.%s', decrypt => true) %%>" % SECRET_KEY
BLOCK = "{%% set x = st2kv.system.%s | decrypt_kv %%}{{ x }}" % SECRET_KEY
EXPRESSIONS = [
    JINJA,
    JINJA_FILTER,
    YAQL,
    BLOCK,
    "{{ '{{' }}" + JINJA_FILTER[2:],  # nested: the outer one would open the inner
    "<% '<' + '" + YAQL[1:].replace("'", '"') + "' %>",
    "{{{{{{" + JINJA_FILTER + "}}}}}}",
    "<<%%>" + YAQL,
]
