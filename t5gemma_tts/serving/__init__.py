"""Speech synthesis for concurrent requests, shared by the HTTP server, the web page and Ray Serve.

`worker` and `synthesis` do not depend on HTTP; `app` builds the OpenAI-compatible server on top of them.
"""
