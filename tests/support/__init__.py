"""What the tests that drive the real program are built from.

Everything here runs on Debian's own Python packages and knows the program only from outside: its command line, its
settings file, its admin port, and what it writes to Kafka and Redis.

  paths         where the sources, the binary and the temporary files are
  processes     programs under test: started, logged, stopped whatever happens
  broker        a real Apache Kafka broker
  redis_server  a real redis-server
  worker        `verdict run`, with its settings file, status and metrics
  model         models to ask: `verdict model-sim`, and a scripted server in Python
  tls_front     TLS before a model that speaks plain HTTP
  producer      puts events into topics, also inside transactions
  reader        an independent read_committed consumer that collects what came out
  deciding      the shipped policies one event at a time, by `verdict decide`
  hostile       text that wants something, a model that obeys it, and who finds it again
  shipped       all shipped policies at work together, on topics of their own
  places        what a policy does with a text in one of its places
  peers         servers and fakes of the providers' APIs that other people wrote
  payloads      the business events that the end-to-end tests publish
  records       what a published record must look like
"""
