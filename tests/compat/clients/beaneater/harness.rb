# frozen_string_literal: true

# What the Ruby suite needs to run its checks, and a few words to write them with.

require 'securerandom'
require 'timeout'

# Seconds that a condition may take to come true. Only a broken server lets this pass.
PATIENCE = 6
BINARY = ((0..255).to_a.pack('C*') + "\r\n\0\r\nINSERTED 1\r\n".b).freeze
TEXT = "naïve ☃ \u{1f40d}"
# Just under the default limit of 65,535, and more than any socket hands over at once.
LARGE = 65_000

# A check that failed.
class Failed < StandardError; end

# Runs checks, each with a tube of its own.
class Suite
  attr_reader :host, :port

  def initialize(name)
    @name = name
    @host, @port = ARGV
    # Several suites and several runs share a server, hence names that nobody else has.
    @prefix = "#{name}-#{Process.pid}-#{SecureRandom.hex(4)}"
    @checks = []
    $stdout.sync = true
  end

  # Registers a block of one parameter: the name of a tube that is the check's own.
  def check(title, &body)
    @checks << [title, body]
  end

  # Runs the checks and exits. The block lists the server's tubes over a new connection.
  def run(&list_tubes)
    check('every tube of this run is gone, so no job or watcher is left') do
      wait_until { list_tubes.call.none? { |tube| tube.start_with?(@prefix) } }
    end
    failed = @checks.each.with_index(1).reject do |(title, body), number|
      passes?(title) { body.call("#{@prefix}-#{number}") }
    end
    puts "#{@name}: #{@checks.size - failed.size} passed, #{failed.size} failed"
    exit(failed.empty?)
  end

  private

  def passes?(title, &body)
    Timeout.timeout(2 * PATIENCE, &body)
    puts "ok   #{title}"
    true
  rescue StandardError => e
    puts "FAIL #{title}: #{e.class}: #{e.message.lines.first&.chomp}"
    warn e.full_message(highlight: false)
    false
  end
end

def equal(actual, expected)
  return if actual == expected

  raise Failed, "expected #{expected.inspect[0, 200]}, got #{actual.inspect[0, 200]}"
end

def holds(condition, what)
  raise Failed, "not so: #{what}" unless condition
end

# Calls the block and returns the error, of exactly that class, which it must raise.
def raises(error_class)
  begin
    result = yield
  rescue StandardError => e
    equal(e.class, error_class)
    return e
  end
  raise Failed, "expected #{error_class}, got the result #{result.inspect}"
end

# Polls until the block holds.
def wait_until
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE
  until yield
    holds(Process.clock_gettime(Process::CLOCK_MONOTONIC) < deadline, "for #{PATIENCE} s")
    sleep 0.02
  end
end

# Checks that a stats reply has all of beanstalkd's keys, in beanstalkd's order.
def expect_keys(keys, name)
  expected = File.readlines("#{__dir__}/../expected/#{name}.txt", chomp: true)
  expected.map! { |key| key.tr('-', '_') }
  equal(keys.select { |key| expected.include?(key) }, expected)
end
