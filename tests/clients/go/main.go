// Command clients runs the suite of one Go client against a Kafka-speaking cluster: `clients franz-go --bootstrap HOST:PORT,…`.
//
// A test is a function that returns an error where something is not as it must be. Each has a deadline of its own.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

type bench struct {
	bootstrap []string
	control   string
	replicas  int16
	quick     bool
}

type test struct {
	name    string
	run     func(context.Context, *bench) error
	seconds int
	long    bool // not in the short run
	kills   bool // kills nodes: runs only where --kills asks for it
}

var suites = map[string][]test{"franz-go": franzTests, "sarama": saramaTests}

func main() {
	if len(os.Args) < 2 || suites[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clients franz-go|sarama --bootstrap HOST:PORT,…")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	bootstrap := flags.String("bootstrap", "", "addresses")
	control := flags.String("control", "", "host:port that kills nodes when asked to")
	quick := flags.Bool("quick", false, "the short run")
	kills := flags.Bool("kills", false, "run the tests that kill nodes, and only them")
	only := flags.String("only", "", "tests whose name contains this")
	_ = flags.Parse(os.Args[2:])
	b := &bench{bootstrap: strings.Split(*bootstrap, ","), control: *control, quick: *quick, replicas: 3}
	passed, failed := 0, 0
	for _, one := range suites[os.Args[1]] {
		if (*quick && one.long) || one.kills != *kills || !strings.Contains(one.name, *only) {
			continue
		}
		began := time.Now()
		err := limited(one, b)
		took := time.Since(began).Seconds()
		if err != nil {
			failed++
			fmt.Printf("FAILED %s (%.2f s): %v\n", one.name, took, err)
		} else {
			passed++
			fmt.Printf("ok %s (%.2f s)\n", one.name, took)
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

// limited runs a test until its deadline, also where the client does not heed a context.
func limited(one test, b *bench) error {
	limit := time.Duration(max(one.seconds, 30)) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- one.run(ctx, b) }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + 2*time.Second):
		return fmt.Errorf("not done after %v", limit)
	}
}

// kill ends a node with signal 9; it is started again by what started it.
func (b *bench) kill(node int32) error {
	connection, err := net.DialTimeout("tcp", b.control, 10*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "kill %d\n", node); err != nil {
		return err
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "ok" {
		return fmt.Errorf("the node was not killed: %q %v", answer, err)
	}
	return nil
}

func unique(what string) string {
	random := make([]byte, 5)
	_, _ = rand.Read(random)
	return what + "-" + hex.EncodeToString(random)
}

func eq[T comparable](found, wanted T, what string) error {
	if found != wanted {
		return fmt.Errorf("%s: %v instead of %v", what, found, wanted)
	}
	return nil
}

func eqText(found, wanted any, what string) error {
	return eq(fmt.Sprint(found), fmt.Sprint(wanted), what)
}

// all gives the first error.
func all(found ...error) error {
	for _, err := range found {
		if err != nil {
			return err
		}
	}
	return nil
}

// eventually repeats a question until its answer is yes.
func eventually(ctx context.Context, what string, ask func() (bool, error)) error {
	for {
		yes, err := ask()
		if yes && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("did not happen: %s", what), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
