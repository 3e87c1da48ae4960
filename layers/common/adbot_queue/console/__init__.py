"""Pages for operators and customers, rendered on the server.

`docs/how-to/add-a-console-page.md` shows how one is added.

request  what a view is asked, and what it may answer
app      routes, roles, the sign of a form (CSRF), errors as pages
sign_in  the authorization code flow; `id_token` checks its token; `sessions` keeps who is signed in
forms    the answer to each form, kept so that a repetition acts once
snapshot the figures of all pages, gathered once for all viewers
render   templates, `assets` files that browsers keep
views    one module for each page: asks services, returns data; its template is in `pages`
"""
