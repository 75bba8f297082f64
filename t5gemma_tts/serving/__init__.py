"""Speech for several people at once: what a server, a web page or a cluster of them speaks with.

`speaker` and `synthesis` know nothing of HTTP; `app` is the OpenAI-compatible server on them.
"""
