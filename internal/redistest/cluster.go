package redistest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/ports"
)

const clusterSlots = 16384

// Cluster is a Redis Cluster of primaries without replicas.
type Cluster struct {
	Nodes []*Server
}

// StartCluster starts n nodes, gives each its share of the slots, and waits
// until all of them agree on it.
func StartCluster(n int) (*Cluster, error) {
	c := &Cluster{}
	if err := c.start(n); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(n int) error {
	buses := make([]int, n)
	for i := range n {
		var err error
		if buses[i], err = ports.Free(); err != nil {
			return err
		}
		node, err := Start(Options{Config: []string{
			"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 60000",
			"cluster-port " + strconv.Itoa(buses[i]),
		}})
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
		first, last := i*clusterSlots/n, (i+1)*clusterSlots/n-1
		if _, err := node.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
	}
	for i, node := range c.Nodes[1:] {
		_, err := c.Nodes[0].Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port), strconv.Itoa(buses[i+1]))
		if err != nil {
			return err
		}
	}
	return eventually("the cluster does not form", func() error {
		for _, node := range c.Nodes {
			answer, err := node.Do("CLUSTER", "SLOTS")
			if err != nil {
				return err
			}
			if shares, _ := answer.([]any); len(shares) != n {
				return fmt.Errorf("%d of %d nodes are known", len(shares), n)
			}
			answer, err = node.Do("CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if text, _ := answer.(string); len(text) < 16 || text[:16] != "cluster_state:ok" {
				return errors.New("the state is not ok")
			}
		}
		return nil
	})
}

// URL is that of the first node, from which a client learns of the others.
func (c *Cluster) URL() string { return c.Nodes[0].URL() }

// NodeOf is the node that holds a key.
func (c *Cluster) NodeOf(key string) (*Server, error) {
	answer, err := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key)
	if err != nil {
		return nil, err
	}
	slot, _ := answer.(int64)
	for i := range c.Nodes {
		if int(slot) < (i+1)*clusterSlots/len(c.Nodes) {
			return c.Nodes[i], nil
		}
	}
	return nil, fmt.Errorf("redistest: no node holds slot %d", slot)
}

// CommandStats sums up the nodes' [Server.CommandStats].
func (c *Cluster) CommandStats() (Stats, error) {
	sum := make(Stats)
	for _, node := range c.Nodes {
		stats, err := node.CommandStats()
		if err != nil {
			return nil, err
		}
		for name, n := range stats {
			sum[name] += n
		}
	}
	return sum, nil
}

// ResetStats sets the counters of all nodes to zero.
func (c *Cluster) ResetStats() error {
	for _, node := range c.Nodes {
		if err := node.ResetStats(); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops all nodes.
func (c *Cluster) Stop() {
	for _, node := range c.Nodes {
		node.Stop()
	}
}

// eventually tries until there is no error or too much time has passed.
func eventually(what string, try func() error) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redistest: %s: %w", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
