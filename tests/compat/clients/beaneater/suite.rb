# frozen_string_literal: true

# beaneater: its connection, tubes, jobs, stats and configuration. It has no reserve-job and no
# quit, and speaks TCP only.

require 'beaneater'
require 'json'
require_relative 'harness'

SUITE = Suite.new('beaneater')

# Yields so many clients, the last argument being how they are used, and closes them.
def clients(count)
  opened = Array.new(count) { Beaneater.new("#{SUITE.host}:#{SUITE.port}") }
  yield(*opened)
ensure
  opened&.each(&:close)
end

# Registers a check whose block is given the tube's name and so many clients that watch only it.
def check(title, count = 1, &body)
  SUITE.check(title) do |tube|
    clients(count) do |*all|
      all.each { |client| client.tubes.watch!(tube) }
      body.call(tube, *all)
    end
  end
end

# Puts a job and returns it as beaneater finds it.
def put(client, tube, body = 'x', **options)
  client.jobs.find(client.tubes[tube].put(body, options)[:id])
end

SUITE.check('connect, by address, environment and configuration, and a refused connection') do
  clients(1) do |client|
    connection = client.connection
    equal([connection.host, connection.port.to_s], [SUITE.host, SUITE.port])
    holds(connection.to_s.include?(SUITE.host), connection.to_s)
    equal(client.tubes.used.name, 'default')
  end
  address = "#{SUITE.host}:#{SUITE.port}"
  Beaneater.configure { |config| config.beanstalkd_url = address }
  Beaneater.new.close
  Beaneater.configuration.beanstalkd_url = nil
  ENV['BEANSTALKD_URL'] = address
  Beaneater.new.close
  ENV.delete('BEANSTALKD_URL')

  listener = TCPServer.new('127.0.0.1', 0)
  port = listener.addr[1]
  listener.close
  raises(Beaneater::NotConnected) { Beaneater.new("127.0.0.1:#{port}") }
  closed = Beaneater.new(address)
  closed.close
  raises(Beaneater::NotConnected) { closed.tubes.used }
end

check('put keeps priority, delay and ttr') do |tube, client|
  job = put(client, tube, pri: 2**32 - 1, delay: 60, ttr: 2**32 - 1)
  equal([job.pri, job.delay, job.ttr], [2**32 - 1, 60, 2**32 - 1])
  equal([job.stats.state, job.tube, job.reserved?], ['delayed', tube, false])
  job.delete
  job = put(client, tube)
  equal([job.pri, job.delay, job.ttr], [65_536, 0, 120])
  job.delete
  answer = client.tubes[tube].put('x', delay: 1)
  equal(answer[:status], 'INSERTED')
  job = client.tubes.reserve(5)
  equal(job.id, answer[:id])
  job.delete
end

check('bodies come back as they were: empty, UTF-8, binary, large') do |tube, client|
  large = BINARY * (LARGE / BINARY.bytesize)
  ['', TEXT, BINARY, large, "\xff".b * LARGE].each do |body|
    id = client.tubes[tube].put(body)[:id]
    equal(client.jobs.find(id).body.b, body.b)
    job = client.tubes.reserve(5)
    equal([job.id, job.body.b], [id, body.b])
    job.delete
  end
end

check('bodies pass through the configured serializer and parser') do |tube, client|
  Beaneater.configure do |config|
    config.default_put_pri = 5
    config.default_put_delay = 60
    config.default_put_ttr = 30
    config.job_serializer = ->(body) { JSON.dump(body) }
    config.job_parser = ->(body) { JSON.parse(body) }
  end
  job = put(client, tube, { 'a' => [1, TEXT] })
  equal(job.body, { 'a' => [1, TEXT] })
  equal([job.pri, job.delay, job.ttr], [5, 60, 30])
  job.delete
ensure
  Beaneater.instance_variable_set(:@_configuration, nil)
end

check('use and list-tube-used') do |tube, client|
  client.tubes.use(tube)
  equal([client.tubes.used.name, client.tubes.last_used], [tube, tube])
  raises(Beaneater::InvalidTubeName) { client.tubes.use('-dash') }
  equal(client.tubes.used.name, tube)
end

SUITE.check('watch, ignore, NOT_IGNORED, and the order of list-tubes-watched') do |tube|
  clients(1) do |client|
    tubes = client.tubes
    watched = -> { tubes.watched.map(&:name) }
    a = "#{tube}-a"
    b = "#{tube}-b"
    tubes.watch(a, b, b)
    equal(watched.call, ['default', a, b])
    tubes.ignore('default', tube, a)
    raises(Beaneater::NotIgnoredError) { tubes.ignore(b) }
    equal(watched.call, [b])
    tubes.watch!(a, tube)
    equal(watched.call.sort, [a, tube].sort)
    raises(Beaneater::InvalidTubeName) { tubes.watch('-dash') }
  end
end

check('reserve takes the lowest (priority, id) of all watched tubes') do |tube, client|
  other = "#{tube}-b"
  client.tubes.watch(other)
  jobs = [put(client, tube, pri: 9), put(client, other, pri: 0), put(client, other, pri: 0)]
  reserved = Array.new(3) { client.tubes.reserve }
  equal(reserved.map(&:id), jobs.rotate.map(&:id))
  equal(reserved.map(&:reserved?), [true] * 3)
  reserved.each(&:delete)

  id = put(client, other).id
  seen = nil
  client.tubes[other].reserve(5) { |job| seen = job.id }
  equal([seen, client.tubes.watched.map(&:name)], [id, [other]])
  client.jobs[id].delete
end

check('reserve-with-timeout times out') do |_, client|
  raises(Beaneater::TimedOutError) { client.tubes.reserve(0) }
  raises(Beaneater::TimedOutError) { client.tubes.reserve(1) }
end

check("delete: anyone's job, unless another connection has reserved it", 2) do |tube, client, other|
  put(client, tube)
  job = client.tubes.reserve(0)
  raises(Beaneater::NotFoundError) { other.jobs.find(job.id).delete }
  job.release
  other.jobs.find(job.id).delete
  equal(job.exists?, false)
  raises(Beaneater::NotFoundError) { job.delete }
end

check('release with priority and delay') do |tube, client|
  put(client, tube, pri: 7)
  job = client.tubes.reserve(0)
  equal(job.release(pri: 5, delay: 60)[:status], 'RELEASED')
  stats = job.stats
  equal([stats.state, stats.pri, stats.delay, stats.releases], ['delayed', 5, 60, 1])
  job.kick
  client.tubes.reserve(0).release(delay: 1)
  job = client.tubes.reserve(5)
  job.release(delay: 0)
  equal([job.stats.state, job.pri], ['ready', 5])
  raises(Beaneater::JobNotReserved) { job.release }
  job.delete
end

check('bury, kick (buried jobs first, then delayed ones) and kick-job') do |tube, client|
  jobs = [put(client, tube), put(client, tube)]
  jobs.each { equal(client.tubes.reserve(0).bury(pri: 3)[:status], 'BURIED') }
  stats = jobs[0].stats
  equal([stats.state, stats.pri, stats.buries], ['buried', 3, 1])
  jobs << put(client, tube, delay: 60)
  kicked = [1, 9, 9, 9].map { |bound| client.tubes[tube].kick(bound)[:id] }
  equal(kicked, %w[1 1 1 0])
  equal(jobs.map { |job| job.stats.state }, ['ready'] * 3)
  raises(Beaneater::NotFoundError) { jobs[0].kick }

  job = client.tubes.reserve(0)
  job.bury
  raises(Beaneater::JobNotReserved) { job.bury }
  equal(job.kick[:status], 'KICKED')
  equal([job.stats.state, job.pri], ['ready', 3])
  jobs.each(&:delete)
end

check('touch gives a reserved job its whole ttr again', 2) do |tube, client, other|
  put(client, tube, ttr: 60)
  job = client.tubes.reserve(0)
  wait_until { job.stats.time_left < 59 }
  before = job.stats.time_left
  wait_until do
    equal(job.touch[:status], 'TOUCHED')
    job.stats.time_left > before
  end
  raises(Beaneater::NotFoundError) { other.jobs.find(job.id).touch }
  job.delete
  raises(Beaneater::NotFoundError) { job.touch }
end

check('peek, peek-ready, peek-delayed, peek-buried') do |tube, client|
  record = client.tubes[tube]
  equal(%i[ready delayed buried].map { |state| record.peek(state) }, [nil] * 3)
  buried = put(client, tube, 'buried')
  client.tubes.reserve(0).bury
  ready = put(client, tube, 'ready')
  delayed = put(client, tube, 'delayed', delay: 60)
  { ready: ready, delayed: delayed, buried: buried }.each do |state, job|
    [record.peek(state), client.jobs.peek(job.id), client.jobs[job.id]].each do |seen|
      equal([seen.id, seen.body, seen.reserved], [job.id, state.to_s, false])
    end
    job.delete
    equal(client.jobs.find(job.id), nil)
  end
end

check('clear deletes ready, delayed and buried jobs') do |tube, client|
  put(client, tube)
  client.tubes.reserve(0).bury
  jobs = [put(client, tube), put(client, tube, delay: 60)]
  # It ends by ignoring the tube, which is the only one watched here.
  client.tubes[tube].clear
  equal(jobs.map(&:exists?), [false, false])
  equal(client.tubes[tube].stats.cmd_delete, 3)
end

check('stats has every key and counts') do |tube, client|
  stats = client.stats
  expect_keys(stats.keys, 'stats')
  names = %w[cmd_put cmd_delete cmd_stats total_jobs]
  before = names.map { |name| stats[name] }
  put(client, tube).delete
  holds(names.map { |name| stats[name] }.zip(before).all? { |a, b| a > b }, 'counters moved')
  holds(stats.current_connections.positive? && stats.current_producers.positive?, 'connections')
  holds(stats[:pid].positive? && stats.current_tubes.positive?, 'pid and tubes')
  equal(stats.draining, false)
  # Not os: beanstalkd 1.12 leaves "#1 SMP..." unquoted, which is a comment to YAML.
  %w[version hostname platform].each do |name|
    holds(!stats[name].to_s.empty? && !stats[name].to_s.include?('"'), name)
  end
end

check('stats-job has every key and the right values') do |tube, client|
  put(client, tube, pri: 4, ttr: 100)
  job = client.tubes.reserve(0)
  stats = job.stats
  expect_keys(stats.keys, 'stats-job')
  holds((97..100).cover?(stats.time_left), 'time-left')
  expected = { 'id' => job.id.to_i, 'tube' => tube, 'state' => 'reserved', 'pri' => 4, 'delay' => 0,
               'ttr' => 100, 'reserves' => 1, 'timeouts' => 0, 'releases' => 0, 'buries' => 0 }
  equal(stats.to_h.slice(*expected.keys), expected)
  job.delete
  raises(Beaneater::NotFoundError) { job.stats }
end

check('stats-tube has every key and the right values') do |tube, client|
  raises(Beaneater::NotFoundError) { client.tubes["#{tube}-unknown"].stats }
  jobs = [put(client, tube, pri: 1023), put(client, tube, pri: 1024), put(client, tube, delay: 60)]
  stats = client.tubes[tube].stats
  expect_keys(stats.keys, 'stats-tube')
  counts = %w[urgent ready reserved delayed buried].map { |s| stats["current_jobs_#{s}"] }
  equal(counts, [1, 2, 0, 1, 0])
  equal([stats.name, stats.total_jobs, stats.current_waiting, stats.pause], [tube, 3, 0, 0])
  equal([stats.current_using, stats.current_watching], [1, 1])
  jobs.each(&:delete)
  equal(client.tubes[tube].stats.cmd_delete, 3)
end

SUITE.check('list-tubes') do |tube|
  clients(1) do |client|
    equal(client.tubes.all.map(&:name).include?(tube), false)
    client.tubes.use(tube)
    equal(['default', tube] - client.tubes.map(&:name), [])
  end
end

check('pause-tube holds jobs back, ends by itself, and 0 resumes') do |tube, client|
  raises(Beaneater::NotFoundError) { client.tubes["#{tube}-unknown"].pause(1) }
  id = put(client, tube).id
  record = client.tubes[tube]
  equal(record.pause(60)[:status], 'PAUSED')
  raises(Beaneater::TimedOutError) { client.tubes.reserve(0) }
  stats = record.stats
  equal([stats.pause, stats.cmd_pause_tube], [60, 1])
  holds((57..60).cover?(stats.pause_time_left), 'pause-time-left')
  record.pause(0)
  client.tubes.reserve(0).release
  record.pause(1)
  job = client.tubes.reserve(5)
  equal(job.id, id)
  job.delete
end

check('DEADLINE_SOON ends a waiting reserve') do |tube, client|
  put(client, tube, ttr: 2)
  job = client.tubes.reserve(0)
  raises(Beaneater::DeadlineSoonError) { client.tubes.reserve }
  job.delete
end

check('a job whose ttr has passed goes to another worker', 2) do |tube, slow, other|
  put(slow, tube, ttr: 1)
  late = slow.tubes.reserve(0)
  # The slow worker keeps asking, since beanstalkd 1.12 loses timers of silent connections.
  wait_until { late.stats.timeouts == 1 }
  job = other.tubes.reserve(5)
  equal(job.id, late.id)
  raises(Beaneater::NotFoundError) { late.release }
  job.delete
end

check('a full tube refuses a put, and a server with too many connections closes') do |tube, client|
  next unless ENV.key?('JQ_FULL_TUBE')

  raises(Beaneater::OutOfMemoryError) { client.tubes[ENV.fetch('JQ_FULL_TUBE')].put('x') }
  client.jobs[client.tubes[tube].put('x')[:id]].delete
  crowded = "#{SUITE.host}:#{ENV.fetch('JQ_CROWDED_PORT')}"
  raises(Beaneater::OutOfMemoryError) { Beaneater.new(crowded).stats.keys }
end

check('what is not allowed is an error, and a put does not break the connection') do
  next unless ENV.key?('JQ_DENIED_PORT')

  denied = Beaneater.new("#{SUITE.host}:#{ENV.fetch('JQ_DENIED_PORT')}")
  raises(Beaneater::InternalError) { denied.stats.keys }
  2.times { raises(Beaneater::InternalError) { denied.tubes['mail'].put('quit') } }
  denied.close
end

check('errors leave the connection usable: JOB_TOO_BIG, BAD_FORMAT, UNKNOWN_COMMAND') do |tube, client|
  limit = client.stats.max_job_size
  raises(Beaneater::JobTooBigError) { client.tubes[tube].put('x' * (limit + 1)) }
  client.jobs[client.tubes[tube].put('x' * limit)[:id]].delete
  # Not frozen, because beaneater changes the encoding of what it is given.
  send = ->(command) { client.connection.transmit(+command) }
  error = raises(Beaneater::BadFormatError) { send.call('kick x') }
  equal([error.status, error.cmd], ['BAD_FORMAT', 'kick x'])
  raises(Beaneater::UnknownCommandError) { send.call('no-such-command') }
  # Three bytes are read for a body of one and its CRLF, and the line's end is left over.
  raises(Beaneater::ExpectedCrlfError) { send.call("put 0 0 9 1\r\nabc") }
end

check('quit closes without an answer, and the client connects again as it was') do |tube, client|
  client.tubes.use(tube)
  socket = client.connection.connection
  socket.write("quit\r\n")
  equal(socket.read, '')
  equal([client.tubes.used.name, client.tubes.watched.map(&:name)], [tube, [tube]])
  holds(!client.connection.connection.equal?(socket), 'a new connection')
end

check('closing the connection gives its reserved jobs back', 2) do |tube, client, other|
  id = put(client, tube, ttr: 600).id
  client.tubes.reserve(0)
  client.close
  job = other.tubes.reserve(5)
  equal(job.id, id)
  job.delete
end

check('a blocked reserve is satisfied by another connection', 2) do |tube, worker, producer|
  reserved = Thread.new { worker.tubes.reserve }
  wait_until { producer.tubes[tube].stats.current_waiting == 1 }
  id = put(producer, tube).id
  equal(reserved.value.id, id)
  reserved.value.delete
end

check('process! deletes, releases, buries and stops as its blocks say', 2) do |tube, client, other|
  client.jobs.register(tube, retry_on: [KeyError], max_retries: 1) do |job|
    case job.body
    when 'good' then job.touch
    when 'again' then {}.fetch(:missing)
    when 'broken' then raise 'broken on purpose'
    when 'stop' then client.jobs.stop!
    end
  end
  equal(client.jobs.processors.keys, [tube])
  good, again, broken, stop = %w[good again broken stop].each_with_index.map do |body, pri|
    put(other, tube, body, pri: pri)
  end
  client.jobs.process!(reserve_timeout: 1, release_delay: 0)
  equal([client.jobs.stop?, good.exists?, stop.exists?], [true, false, false])
  # Released once, and then at the limit of one retry, it was still reserved and so buried.
  equal([again.stats.state, again.stats.releases, broken.stats.state], ['buried', 1, 'buried'])

  abort = put(other, tube, 'abort')
  jobs = Beaneater::Jobs.new(client)
  jobs.register(tube) { raise Beaneater::AbortProcessingError }
  jobs.process!
  equal(abort.stats.state, 'buried')
  [again, broken, abort].each(&:delete)
end

SUITE.run { clients(1) { |client| client.tubes.all.map(&:name) } }
